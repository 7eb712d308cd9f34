//! Kills, freezes and restarts in any order: whoever runs is linked to all who run.

use std::time::Duration;

use crate::process::{LONG, Process, figure};

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const ROUNDS: usize = 12;

/// A small generator, so that a failure can be had again by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn whoever_runs_is_linked_whatever_happened() {
    let seed: u64 = std::env::var("CASIDE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    figure(&format!("CASIDE_TEST_SEED={seed}"));
    let mut dice = Dice(seed | 1);
    let mut members: Vec<Process> = NODES
        .iter()
        .map(|node| Process::start(&format!("{node}-1"), ""))
        .collect();
    let mut runs = 1;
    let mut killed = Vec::new();
    for _ in 0..ROUNDS {
        introduce_all(&mut members);
        check_linked(&mut members);
        let nth = usize::try_from(dice.below(NODES.len() as u64)).unwrap();
        let pause = Duration::from_millis(dice.below(1_800));
        if dice.below(3) == 0 {
            members[nth].signal("STOP");
            std::thread::sleep(pause);
            members[nth].signal("CONT");
        } else {
            // At once, or amid what follows the loss of the first.
            members[nth].kill();
            killed.push(members[nth].name.clone());
            std::thread::sleep(pause / 20);
            runs += 1;
            let address = members[nth].address.clone();
            members[nth] = Process::start(&format!("{}-{runs}", NODES[nth]), &format!("listen={address}"));
        }
    }
    introduce_all(&mut members);
    check_linked(&mut members);
    for member in &members {
        // Each end of a link was told of before the next began.
        let mut up = std::collections::HashSet::new();
        for line in member.said() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["up", who] => assert!(up.insert(who.to_owned()), "up twice: {:?}", member.said()),
                ["down", who, "false"] => assert!(up.remove(who), "down twice: {:?}", member.said()),
                ["down", who, "true"] => drop(up.remove(who)),
                _ => {}
            }
        }
        assert_eq!(up.len(), NODES.len() - 1);
        for gone in &killed {
            let said = |line: String| member.said().contains(&line);
            assert!(
                !said(format!("up {gone}")) || said(format!("down {gone} true")),
                "{gone}: {:?}",
                member.said()
            );
        }
    }
}

fn introduce_all(members: &mut [Process]) {
    crate::process::introduce(&mut members.iter_mut().collect::<Vec<_>>());
}

fn check_linked(members: &mut [Process]) {
    let all: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    for member in members {
        let others: Vec<&str> = all
            .iter()
            .filter(|name| **name != member.name)
            .map(String::as_str)
            .collect();
        let wanted = format!("linked {}", others.join(" "));
        member.ask_until("linked", LONG, |answer| answer == wanted);
    }
}
