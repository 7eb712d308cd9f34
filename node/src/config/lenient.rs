//! Reads a setting alike from text (flags, variables) and from TOML's own types, by its `FromStr`.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use caside_protocol::server::IceServer;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::kinds::{Bounded, IceServers};

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(if value { "true" } else { "false" })
    }
}

/// One value.
pub(crate) fn text<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    d.deserialize_any(Text(PhantomData))
}

/// One value that may be left out; an empty text leaves it out, as `NAME=` in an environment file means it.
pub(crate) fn optional<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    struct Optional<T>(T);
    impl<T: FromStr<Err: Display>> FromStr for Optional<Option<T>> {
        type Err = T::Err;

        fn from_str(text: &str) -> Result<Self, T::Err> {
            if text.is_empty() {
                Ok(Self(None))
            } else {
                text.parse().map(|value| Self(Some(value)))
            }
        }
    }
    text::<Optional<Option<T>>, D>(d).map(|optional| optional.0)
}

struct List<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: Display>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or one text with commas")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| part.parse().map_err(|e| E::custom(format_args!("{part}: {e}"))))
            .collect()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(part) = seq.next_element::<String>()? {
            list.push(
                part.parse()
                    .map_err(|e| de::Error::custom(format_args!("{part}: {e}")))?,
            );
        }
        Ok(list)
    }
}

/// A list: TOML's, or one text with commas.
pub(crate) fn list<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    d.deserialize_any(List(PhantomData))
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d)
    }
}

/// ICE servers: text, or TOML's list of URLs and tables.
pub(crate) fn ice_servers<'de, D: Deserializer<'de>>(d: D) -> Result<IceServers, D::Error> {
    struct Server(IceServer);
    impl<'de> Deserialize<'de> for Server {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            struct One;
            impl<'de> Visitor<'de> for One {
                type Value = Server;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a URL or a table of urls, username and credential")
                }

                fn visit_str<E: de::Error>(self, url: &str) -> Result<Server, E> {
                    Ok(Server(IceServer {
                        urls: vec![url.to_owned()],
                        username: None,
                        credential: None,
                    }))
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Server, A::Error> {
                    IceServer::deserialize(MapAccessDeserializer::new(map)).map(Server)
                }
            }
            d.deserialize_any(One)
        }
    }
    struct Servers;
    impl<'de> Visitor<'de> for Servers {
        type Value = IceServers;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of servers")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<IceServers, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<IceServers, A::Error> {
            let servers = Vec::<Server>::deserialize(SeqAccessDeserializer::new(seq))?;
            IceServers::checked(servers.into_iter().map(|server| server.0).collect()).map_err(de::Error::custom)
        }
    }
    d.deserialize_any(Servers)
}

/// Writes a value as text.
pub(crate) fn show<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

/// Writes a value that may be left out as text.
pub(crate) fn show_optional<T: Display, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(s)
}

/// Writes a list of texts.
pub(crate) fn show_list<T: Display, S: Serializer>(values: &[T], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(values.iter().map(ToString::to_string))
}
