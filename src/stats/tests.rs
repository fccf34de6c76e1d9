//! The table in memory of the heap, with processes that do not exist.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard};

use crate::life::Life;
use crate::shared::Memory;

use super::flight::State;
use super::stacks::stacks_asked;
use super::*;

/// A process has one place in one table, so tests that take it go one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn table(apps: usize, workers: usize) -> Table {
    let capacity = Capacity::of(apps, workers);
    Table::create(Memory::leaked(capacity.len()), capacity).unwrap()
}

fn joined(worker: usize) -> (MutexGuard<'static, ()>, Table, App) {
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let table = table(1, 1);
    assert!(join(table, worker));
    let row = table.find_or_add(&name("shop").to_text()).unwrap();
    (alone, table, App::of_row(row))
}

fn name(target: &str) -> AppName {
    AppName { target: target.to_owned(), ..AppName::default() }
}

fn dead() -> Life {
    // No system has so many.
    Life { pid: i32::MAX as u32 - 7, born: 1 }
}

#[test]
fn a_table_is_opened_as_it_was_created() {
    let capacity = Capacity::of(20, 3);
    let memory = Memory::leaked(capacity.len());
    let created = Table::create(memory, capacity).unwrap();
    let row = created.find_or_add("a").unwrap();
    created.counters(row, 7).requests.store(7, Ordering::Relaxed);
    let opened = Table::open(memory).unwrap();
    assert_eq!(opened.capacity(), capacity);
    assert_eq!(opened.find("a"), Some(row));
    assert_eq!(opened.counters(row, 7).requests.load(Ordering::Relaxed), 7);
    assert!(Table::create(Memory::leaked(capacity.len() - 64), capacity).is_none());
}

#[test]
fn rows_keep_their_places() {
    let table = table(16, 1);
    let names: Vec<String> = (0..16).map(|number| format!("app{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        assert_eq!(table.find_or_add(name), Some(number));
    }
    assert_eq!(table.find_or_add("app3"), Some(3));
    assert_eq!(table.find_or_add("one too many"), None);
    assert!(table.has_room_for(&names, 8));
    assert!(!table.has_room_for(&names, 9));
    assert!(!table.has_room_for(&["one too many".to_owned()], 1));
}

#[test]
fn a_larger_table_takes_over_what_is_kept() {
    let old = table(2, 8);
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        let row = old.find_or_add(name).unwrap();
        let counters = old.counters(row, 7);
        counters.requests.store(number as u64 + 1, Ordering::Relaxed);
        counters.run.add(Duration::from_secs(number as u64));
    }
    old.workers[7].replaced[Reason::Reload as usize].store(5, Ordering::Relaxed);
    old.head.asked.store(3, Ordering::Relaxed);
    let new = table(40, 20);
    new.continue_from(&old, |name| name != "b");
    assert_eq!(new.find("b"), None);
    let row = new.find("c").unwrap();
    assert_eq!(new.counters(row, 7).requests.load(Ordering::Relaxed), 3);
    assert_eq!(new.counters(row, 7).run.read().sum(), 2.0);
    assert_eq!(new.counters(row, 6).requests.load(Ordering::Relaxed), 0);
    assert_eq!(new.workers[7].replaced[Reason::Reload as usize].load(Ordering::Relaxed), 5);
    assert_eq!(new.head.asked.load(Ordering::Relaxed), 3);
}

#[test]
fn the_slot_of_a_dead_process_is_used_again_and_says_nothing() {
    let table = table(1, 1);
    let slot = table.claim(dead(), 0, 1).unwrap();
    table.gauges(0, slot).in_flight.store(9, Ordering::Relaxed);
    table.slots[slot].used[0].store(u64::MAX, Ordering::Relaxed);
    assert_eq!(table.alive().count(), 0);
    assert_eq!(table.claim(Life::own(), 0, 1), Some(slot));
    assert_eq!(table.gauges(0, slot).in_flight.load(Ordering::Relaxed), 0);
    assert_eq!(table.slots[slot].used[0].load(Ordering::Relaxed), 0);
    assert_eq!(table.alive().count(), 1);
}

#[test]
fn there_may_be_no_slot_left() {
    let table = table(1, 1);
    let one = std::process::Command::new("sleep").arg("60").spawn();
    let mut one = one.unwrap();
    let life = Life { pid: one.id(), born: 0 };
    for slot in table.slots {
        slot.life.store(life.to_bits(), Ordering::Relaxed);
    }
    assert_eq!(table.claim(Life::own(), 0, 1), None);
    one.kill().unwrap();
    one.wait().unwrap();
    assert_eq!(table.claim(Life::own(), 0, 1), Some(0));
}

#[test]
fn what_is_not_configured_counts_nothing() {
    let app = App::default();
    app.finished(Duration::ZERO, true);
    app.queued();
    let flight = app.received(b"GET", b"/");
    flight.set_state(State::Running);
    drop(flight);
}

#[test]
fn a_request_is_counted_and_listed_until_its_end() {
    let (_alone, table, app) = joined(0);
    let flight = app.received(b"GET", b"/a b<\xff\n?x=\"'&");
    app.queued();
    app.unqueued();
    app.waited(Duration::from_millis(3));
    app.busy();
    flight.runs_in(3, "shop 3");
    let snapshot = Snapshot::take(&[0], 1, None).unwrap();
    let [(shown, workers)] = &snapshot.apps[..] else { panic!("one application") };
    assert_eq!(*shown, name("shop"));
    assert_eq!((workers[0].in_flight, workers[0].queued, workers[0].busy), (1, 0, 1));
    assert_eq!(workers[0].totals.queue.count(), 1);
    let [flying] = &snapshot.flights[..] else { panic!("one request") };
    assert_eq!((flying.method.as_str(), flying.state), ("GET", State::Running));
    assert_eq!(flying.target, "/a%20b<%FF%0A?x=\"'&");
    assert_eq!((flying.thread, flying.thread_name.as_str()), (3, "shop 3"));
    assert_eq!(flying.pid, std::process::id());
    assert_eq!(snapshot.workers[0].processes.len(), 1);
    app.idle();
    app.finished(Duration::from_secs(2), true);
    drop(flight);
    let snapshot = Snapshot::take(&[0], 1, None).unwrap();
    let worker = &snapshot.apps[0].1[0];
    assert_eq!((worker.in_flight, worker.busy, worker.totals.requests), (0, 0, 1));
    assert_eq!((worker.totals.errors, worker.totals.run.sum()), (1, 2.0));
    assert!(snapshot.flights.is_empty());
    leave();
    assert_eq!(table.alive().count(), 0);
}

#[test]
fn requests_beyond_the_list_are_counted() {
    let (_alone, table, app) = joined(0);
    let flights: Vec<Flight> = (0..300).map(|_| app.received(b"GET", b"/")).collect();
    let snapshot = Snapshot::take(&[0], 1, None).unwrap();
    assert_eq!((snapshot.flights.len(), snapshot.unlisted), (256, 44));
    assert_eq!(snapshot.apps[0].1[0].in_flight, 300);
    drop(flights);
    let again: Vec<Flight> = (0..256).map(|_| app.received(b"GET", b"/")).collect();
    let snapshot = Snapshot::take(&[0], 1, None).unwrap();
    assert_eq!((snapshot.flights.len(), snapshot.unlisted), (256, 0));
    drop(again);
    assert!(table.slots[0].used.iter().all(|used| used.load(Ordering::Relaxed) == 0));
}

#[test]
fn many_threads_take_and_give_back() {
    let (_alone, table, app) = joined(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..5000 {
                    let target = format!("/{thread}/{number}");
                    let flight = app.received(b"GET", target.as_bytes());
                    flight.runs_in(thread, "t");
                    app.finished(Duration::ZERO, false);
                }
            });
        }
        for _ in 0..200 {
            let snapshot = Snapshot::take(&[0], 1, None).unwrap();
            assert!(snapshot.flights.iter().all(|flying| flying.target.starts_with('/')));
        }
    });
    let snapshot = Snapshot::take(&[0], 1, None).unwrap();
    let totals = &snapshot.apps[0].1[0].totals;
    assert_eq!((totals.requests, totals.run.count()), (20_000, 20_000));
    assert_eq!(snapshot.apps[0].1[0].in_flight, 0);
    assert!(table.slots[0].used.iter().all(|used| used.load(Ordering::Relaxed) == 0));
}

#[test]
fn stacks_are_asked_for_and_answered() {
    let (_alone, _table, app) = joined(0);
    let (runs, waits) = (app.received(b"GET", b"/runs"), app.received(b"GET", b"/waits"));
    runs.runs_in(1, "t");
    assert!(!stacks_asked());
    let question = ask().unwrap();
    assert!(stacks_asked() && !have_answered(question));
    assert!(wait_for_question());
    let dump = Dump::begin().unwrap();
    let [running] = dump.running()[..] else { panic!("one request has a thread") };
    dump.write(running, &format!("{}the end\u{e9}", "\u{e9}".repeat(4000)));
    drop(dump);
    assert!(!stacks_asked() && have_answered(question));
    let snapshot = Snapshot::take(&[0], 1, Some(question)).unwrap();
    let stack = |target: &str| {
        let flying = snapshot.flights.iter().find(|flying| flying.target == target).unwrap();
        flying.stack.clone()
    };
    let shown = stack("/runs").unwrap();
    assert!(shown.starts_with("...\n\u{e9}") && shown.ends_with("the end\u{e9}"));
    assert_eq!(stack("/waits"), None);
    drop((runs, waits));
}

#[test]
fn the_name_of_an_application_survives_the_table() {
    let name = AppName {
        target: "/srv/app.py".to_owned(),
        interpreter: "shop".to_owned(),
        middleware: vec!["a".to_owned(), "b".to_owned()],
    };
    let table = table(1, 1);
    table.find_or_add(&name.to_text());
    table.find_or_add(&AppName { middleware: Vec::new(), ..name.clone() }.to_text());
    let names: Vec<Vec<u8>> = table.names().map(|(_, text)| text).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(AppName::from_text(&names[0]), name);
}
