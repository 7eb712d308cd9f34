# The node alone, in a small image that runs as nobody.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --package caside-node

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data caside \
 && install -d -o caside -g caside /data
COPY --from=build /src/target/dist/caside /usr/local/bin/caside
USER caside
WORKDIR /data
ENV CASIDE_DATA_DIR=/data \
    CASIDE_LISTEN=0.0.0.0:8080 \
    CASIDE_MEDIA_PORT=40000
VOLUME /data
EXPOSE 8080/tcp 40000-40031/udp 40000-40031/tcp
# Asks the node that runs here, by TLS when that is on; there is no curl in the image.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["caside", "health"]
# Off loopback a node starts only with a secret of its own: pass JWT_SECRET or JWT_PRIVATE_KEY_FILE.
ENTRYPOINT ["caside"]
CMD ["serve"]
