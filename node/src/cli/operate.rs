//! `caside inspect` and `caside drain`: the cluster as it runs, asked of one of its nodes.

use std::time::Duration;

use caside_protocol::inspect::{Actors, RoomInspection};
use caside_protocol::rest::{DrainNode, Nodes, RunningRooms};
use caside_protocol::{NodeId, RoomId};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::ask;
use super::explain::CallArgs;
use super::inspect;
use crate::config::Settings;
use crate::output;

/// How often what is watched is asked for.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(subcommand)]
    what: What,
    /// Ask again and again
    #[arg(long, global = true)]
    watch: bool,
    /// Print JSON as the node answers it
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The nodes, and how each is
    Nodes,
    /// The rooms that run and on which node, or one of them in full
    Rooms {
        /// This one
        room: Option<RoomId>,
    },
    /// What happened in a call, and why something in it does not work
    Call(CallArgs),
    /// The actors: what each is there for, what waits in its mailbox, what went wrong
    Actors(inspect::ActorsArgs),
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The node whose rooms go to the others, and which then ends
    node: NodeId,
}

impl InspectArgs {
    /// Prints what is asked for.
    pub(super) async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        if !self.watch {
            output::line(self.what.ask(settings, self.json).await?);
            return Ok(());
        }
        let mut screen = inspect::Screen::new();
        loop {
            // A node that is being started anew answers again by and by.
            match self.what.ask(settings, self.json).await {
                Ok(text) => screen.show(&text),
                Err(error) => screen.show(&format!("{error:#}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Says that the node is ready.
///
/// # Errors
/// When it is not, or does not answer.
pub(super) async fn health(settings: &Settings) -> anyhow::Result<()> {
    let _: serde_json::Value = ask(settings, Method::GET, "/health/ready", None).await?;
    output::line("ready");
    Ok(())
}

impl What {
    async fn ask(&self, settings: &Settings, json: bool) -> anyhow::Result<String> {
        match self {
            Self::Nodes => answer::<Nodes>(settings, "/admin/nodes", json, table_of_nodes).await,
            Self::Rooms { room: None } => answer::<RunningRooms>(settings, "/admin/rooms", json, table_of_rooms).await,
            Self::Rooms { room: Some(room) } => {
                let path = format!("/admin/rooms/{room}");
                answer::<RoomInspection>(settings, &path, json, inspect::room).await
            }
            Self::Call(call) => call.ask(settings, json).await,
            Self::Actors(args) => answer::<Actors>(settings, &args.path(), json, inspect::actors).await,
        }
    }
}

/// Asks, and gives the answer as it is or as people read it.
async fn answer<T: DeserializeOwned + Serialize>(
    settings: &Settings,
    path: &str,
    json: bool,
    shown: fn(&T) -> String,
) -> anyhow::Result<String> {
    let answer: T = ask(settings, Method::GET, path, None).await?;
    Ok(if json {
        serde_json::to_string(&answer)?
    } else {
        shown(&answer)
    })
}

impl DrainArgs {
    /// Has the node drain.
    pub(super) async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let body = serde_json::to_vec(&DrainNode { node: self.node })?;
        let drained: DrainNode = ask(settings, Method::POST, "/admin/drain", Some(body)).await?;
        output::line(format_args!("{} drains and ends", drained.node));
        Ok(())
    }
}

fn table_of_nodes(nodes: &Nodes) -> String {
    let mut rows = vec![["NODE", "STATE", "ROOMS", "LOAD", "ADDRESS"].map(str::to_owned)];
    for node in &nodes.items {
        let state = match (node.this, node.draining, node.linked) {
            (_, true, _) => "draining",
            (true, ..) => "answers",
            (_, _, true) => "linked",
            (_, _, false) => "not linked",
        };
        rows.push([
            node.node.to_string(),
            state.to_owned(),
            node.rooms.to_string(),
            format!("{}.{} %", node.load / 10, node.load % 10),
            node.address.clone().unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    format!("{}\ndirectory: {}", aligned(&rows), nodes.directory)
}

fn table_of_rooms(rooms: &RunningRooms) -> String {
    let mut rows = vec![["NODE", "ROOM", "PARTICIPANTS", "EPOCH", "CALL"].map(str::to_owned)];
    for room in &rooms.items {
        rows.push([
            room.node.to_string(),
            room.room.to_string(),
            room.participants.to_string(),
            room.epoch.to_string(),
            room.call.map_or_else(|| "–".to_owned(), |call| call.to_string()),
        ]);
    }
    aligned(&rows)
}

/// Columns as wide as what is in them.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["A", "LONG"], ["long one", "b"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "A         LONG\nlong one  b");
    }
}
