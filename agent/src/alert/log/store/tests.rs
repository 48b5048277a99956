use super::*;

fn entry(number: u64, bytes: usize) -> Op {
    Op::Entry(number, Some(vec![1; bytes].into()))
}

#[test]
fn a_full_file_is_no_end_and_is_written_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = Store::open(dir.path(), 1);
    let mut number = 0;
    // The least bound is 4 MiB: this must fail before 1,000 times 64 KiB.
    let failed = loop {
        number += 1;
        assert!(number < 1_000);
        let wrote = store.write(vec![entry(number, 64 << 10)], Image::default);
        if let Wrote::No(why) = wrote {
            break why;
        }
    };
    assert!(failed.contains("larger than"), "{failed}");
    assert!(!store.is_durable());
    assert!(matches!(
        store.write(Vec::new(), Image::default),
        Wrote::No(_)
    ));
    let length = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(length <= FILE_LEAST, "{length}");

    let image = || Image {
        entries: vec![(7, vec![2; 10].into())],
        ..Image::default()
    };
    if let Err(failure) = &mut store.open {
        failure.tried -= RETRY;
    }
    assert!(matches!(store.write(Vec::new(), image), Wrote::Again));
    drop(store);
    let (_, found, troubles) = Store::open(dir.path(), 1);
    assert_eq!(found, image());
    assert!(troubles.is_empty());
}

#[test]
fn the_file_shrinks_after_much_was_held() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = Store::open(dir.path(), 8 << 20);
    let all: Vec<_> = (1..200).map(|number| entry(number, 10_000)).collect();
    assert!(matches!(store.write(all, Image::default), Wrote::Yes));
    let none: Vec<_> = (1..200).map(|number| Op::Entry(number, None)).collect();
    assert!(matches!(store.write(none, Image::default), Wrote::Yes));
    drop(store);
    drop(Store::open(dir.path(), 8 << 20));
    let length = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(length < 256 << 10, "{length}");
}

#[test]
fn the_file_of_another_version_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = Store::open(dir.path(), 1);
    let database = store.open.ok().unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert("format", 99)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (store, _, troubles) = Store::open(dir.path(), 1);
    assert!(store.is_durable());
    assert!(troubles[0].contains("another version"), "{troubles:?}");
}
