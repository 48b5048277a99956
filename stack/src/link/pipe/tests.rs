use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn pipe(impairment: Impairment) -> Pipe<u64> {
    impairment.check().unwrap();
    Pipe::new(1, Direction::Forward, impairment).unwrap()
}

/// Runs a pipe to its end: what came out, and when.
fn drain(pipe: &mut Pipe<u64>) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    while let Some(at) = pipe.next_at() {
        while let Some(packet) = pipe.pop(at) {
            out.push((at, packet));
        }
    }
    out
}

#[test]
fn a_packet_takes_its_time_on_the_wire_and_in_flight() {
    let mut pipe = pipe(Impairment {
        rate_bps: 12_000_000,
        delay_ms: 20.0,
        ..Impairment::default()
    });
    for packet in 0..3 {
        assert_eq!(pipe.push(0, 1500, packet), None);
    }
    assert_eq!(drain(&mut pipe), [(21 * MS, 0), (22 * MS, 1), (23 * MS, 2)]);
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let rated = Impairment {
        rate_bps: 12_000_000,
        ..Impairment::default()
    };
    let mut by_packets = pipe(Impairment {
        queue_packets: 3,
        ..rated.clone()
    });
    let mut by_bytes = pipe(Impairment {
        queue_bytes: 4500,
        ..rated
    });
    for pipe in [&mut by_packets, &mut by_bytes] {
        let dropped = (0..10)
            .filter(|&packet| pipe.push(0, 1500, packet).is_some())
            .count();
        assert_eq!((dropped, pipe.counts().queue_full), (7, 7));
        assert_eq!(drain(pipe).len(), 3);
    }
}

#[test]
fn an_outage_holds_or_drops() {
    let mut pipe = pipe(Impairment {
        outage: Outage::Hold,
        ..Impairment::default()
    });
    assert_eq!(pipe.push(0, 100, 1), None);
    assert_eq!(pipe.next_at(), None);
    pipe.change(5 * MS, Impairment::default(), None);
    assert_eq!(drain(&mut pipe), [(5 * MS, 1)]);
    pipe.change(
        6 * MS,
        Impairment {
            outage: Outage::Drop,
            ..Impairment::default()
        },
        None,
    );
    assert_eq!(pipe.push(6 * MS, 100, 2), Some(2));
    assert_eq!(pipe.counts().outage, 1);
}

#[test]
fn late_packets_are_passed_by_the_others() {
    let mut pipe = pipe(Impairment {
        reorder: 0.3,
        reorder_ms: 5.0,
        delay_ms: 1.0,
        ..Impairment::default()
    });
    for packet in 0..100 {
        pipe.push(packet * MS, 100, packet);
    }
    let out = drain(&mut pipe);
    let late = out
        .iter()
        .filter(|&&(at, packet)| at == packet * MS + 6 * MS)
        .count();
    assert!((10..60).contains(&late), "{late}");
    assert!(
        out.iter()
            .all(|&(at, packet)| at == packet * MS + MS || at == packet * MS + 6 * MS)
    );
    assert!(out.windows(2).any(|pair| pair[0].1 > pair[1].1));
}

#[test]
fn a_new_rate_holds_for_the_packet_being_served() {
    let mut pipe = pipe(Impairment {
        rate_bps: 1_000,
        ..Impairment::default()
    });
    pipe.push(0, 1500, 7);
    pipe.change(
        2 * MS,
        Impairment {
            rate_bps: 12_000_000,
            ..Impairment::default()
        },
        None,
    );
    assert_eq!(drain(&mut pipe), [(3 * MS, 7)]);
}

#[test]
fn what_flies_is_bounded() {
    let mut pipe = pipe(Impairment {
        delay_ms: 1000.0,
        queue_packets: u32::MAX,
        ..Impairment::default()
    });
    let over = 5;
    for packet in 0..(FLIGHT_PACKETS + over) as u64 {
        pipe.push(0, 64, packet);
    }
    assert_eq!(drain(&mut pipe).len(), FLIGHT_PACKETS);
    assert_eq!(pipe.counts().overflow, over as u64);
}

fn any_impairment() -> impl Strategy<Value = Impairment> {
    (
        0_u64..50_000_000,
        0.0..30.0,
        0.0..20.0,
        0.0..0.5,
        0.0..0.3,
        1_u32..50,
    )
        .prop_map(
            |(rate_bps, delay_ms, jitter_ms, loss, reorder, queue_packets)| Impairment {
                rate_bps,
                delay_ms,
                jitter_ms,
                loss,
                reorder,
                reorder_ms: 3.0,
                queue_packets,
                ..Impairment::default()
            },
        )
}

fn any_arrivals() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((0_u64..3 * MS, 40_usize..1500), 1..200)
}

fn replay(impairment: &Impairment, arrivals: &[(u64, usize)]) -> (Vec<(u64, u64)>, Counts) {
    let mut pipe = pipe(impairment.clone());
    let mut out = Vec::new();
    let mut now = 0;
    for (packet, &(gap, bytes)) in arrivals.iter().enumerate() {
        now += gap;
        // A real relay wakes for what is due before the next packet.
        while let Some(at) = pipe.next_at().filter(|&at| at <= now) {
            while let Some(packet) = pipe.pop(at) {
                out.push((at, packet));
            }
        }
        pipe.push(now, bytes, packet as u64);
    }
    out.extend(drain(&mut pipe));
    (out, pipe.counts())
}

proptest! {
    #[test]
    fn the_same_packets_at_the_same_times_come_out_the_same(
        impairment in any_impairment(), arrivals in any_arrivals(),
    ) {
        prop_assert_eq!(replay(&impairment, &arrivals), replay(&impairment, &arrivals));
    }

    #[test]
    fn every_packet_is_delivered_once_or_counted_as_dropped(
        impairment in any_impairment(), arrivals in any_arrivals(),
    ) {
        let (out, counts) = replay(&impairment, &arrivals);
        prop_assert_eq!(out.len() as u64, counts.delivered);
        let mut packets: Vec<u64> = out.iter().map(|&(_, packet)| packet).collect();
        packets.sort_unstable();
        packets.dedup();
        prop_assert_eq!(packets.len(), out.len());
        let dropped = counts.lost + counts.queue_full + counts.outage + counts.overflow;
        prop_assert_eq!(counts.delivered + dropped, counts.arrived);
        prop_assert_eq!(counts.arrived, arrivals.len() as u64);
    }

    #[test]
    fn jitter_alone_keeps_the_order(jitter_ms in 0.0..50.0, arrivals in any_arrivals()) {
        let impairment = Impairment { delay_ms: 10.0, jitter_ms, ..Impairment::default() };
        let (out, _) = replay(&impairment, &arrivals);
        prop_assert!(out.is_sorted());
        prop_assert!(out.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }

    #[test]
    fn no_more_leaves_than_the_rate_carries(rate_bps in 10_000_u64..10_000_000, arrivals in any_arrivals()) {
        let impairment = Impairment { rate_bps, ..Impairment::default() };
        let (out, counts) = replay(&impairment, &arrivals);
        let Some(&(last, _)) = out.last() else { return Ok(()) };
        let carries = u128::from(last) * u128::from(rate_bps) / 1_000_000_000;
        prop_assert!(u128::from(counts.delivered_bytes) * 8 <= carries + 1);
    }
}
