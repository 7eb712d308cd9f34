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
# There is no curl in the image; bash can ask the one question.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
# Off loopback a node starts only with a secret of its own: pass JWT_SECRET or JWT_PRIVATE_KEY_FILE.
ENTRYPOINT ["caside"]
CMD ["serve"]
