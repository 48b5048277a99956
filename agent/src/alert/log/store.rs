//! The mirror of the log on disk: one redb file, one synced transaction for each write.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    WriteTransaction,
};

use super::state::{Image, Op};

mod bounded;

use bounded::Bounded;

/// Pages and states, in a file of at most so many times their bytes: redb copies what it changes
/// and fills its pages in part.
const FILE_FACTOR: u64 = 4;
/// What a file may have in any case.
const FILE_LEAST: u64 = 4 << 20;
/// The file's name in the state directory.
const FILE: &str = "alerts.redb";
/// What a file that cannot be read is renamed to; an earlier one is replaced.
const ASIDE: &str = "alerts.redb.unreadable";
/// redb's default is 1 GiB.
const CACHE: usize = 256 << 10;
/// Layout of the tables.
const FORMAT: u64 = 1;
/// Pause before a store that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const BOARD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("board");
const CURSORS: TableDefinition<'_, &str, u64> = TableDefinition::new("cursors");
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");

pub(super) struct Store {
    /// None: in memory only, as configured.
    dir: Option<PathBuf>,
    max_file: u64,
    open: Result<Database, Failure>,
}

struct Failure {
    why: String,
    tried: Instant,
}

/// How a write ended.
pub(super) enum Wrote {
    /// It is on disk, or there is none by configuration.
    Yes,
    /// The store works again: everything was written.
    Again,
    /// It is not on disk.
    No(String),
}

impl Store {
    /// Opens the file in `dir`; also gives what is in it and what was wrong with it.
    pub(super) fn open(dir: &Path, bytes: usize) -> (Self, Image, Vec<String>) {
        let max_file = FILE_LEAST.max(FILE_FACTOR * bytes as u64);
        let mut troubles = Vec::new();
        if dir.as_os_str().is_empty() {
            let nowhere = Failure::new("no state directory".to_owned());
            let store = Self {
                dir: None,
                max_file,
                open: Err(nowhere),
            };
            return (store, Image::default(), troubles);
        }
        let mut store = Self {
            dir: Some(dir.to_owned()),
            max_file,
            open: Err(Failure::new(String::new())),
        };
        let image = match open(dir, max_file, &mut troubles) {
            Ok((database, image)) => {
                store.open = Ok(database);
                image
            }
            Err(why) => {
                store.open = Err(Failure::new(format!("{why:#}")));
                Image::default()
            }
        };
        (store, image, troubles)
    }

    /// Why it does not work, if it should.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.open {
            Err(failure) if self.dir.is_some() => Some(&failure.why),
            _ => None,
        }
    }

    /// Whether what is written survives a crash.
    pub(super) fn is_durable(&self) -> bool {
        self.open.is_ok()
    }

    /// Writes in one transaction, synced. After a failure the store is opened anew from time to
    /// time, and then gets all there is.
    pub(super) fn write(&mut self, ops: Vec<Op>, image: impl FnOnce() -> Image) -> Wrote {
        let Some(dir) = &self.dir else {
            return Wrote::Yes;
        };
        let failed = match &self.open {
            Ok(_) if ops.is_empty() => return Wrote::Yes,
            Ok(database) => match guarded(|| apply(database, &ops)) {
                Ok(()) => return Wrote::Yes,
                Err(why) => format!("cannot write {}: {why:#}", dir.join(FILE).display()),
            },
            Err(failure) if failure.tried.elapsed() < RETRY => {
                return Wrote::No(failure.why.clone());
            }
            Err(_) => match self.reopen(image) {
                Ok(()) => return Wrote::Again,
                Err(why) => format!("{why:#}"),
            },
        };
        self.open = Err(Failure::new(failed.clone()));
        Wrote::No(failed)
    }

    fn reopen(&mut self, image: impl FnOnce() -> Image) -> anyhow::Result<()> {
        let dir = self.dir.as_deref().context("no state directory")?;
        let (database, _) = open(dir, self.max_file, &mut Vec::new())?;
        guarded(|| rewrite(&database, &image()))?;
        self.open = Ok(database);
        Ok(())
    }
}

impl Failure {
    fn new(why: String) -> Self {
        Self {
            why,
            tried: Instant::now(),
        }
    }
}

/// redb asserts what its checksums should make sure; a file must not stop the agent.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| bail!("redb gave up on the file"))
}

/// Opens and reads the file; one that cannot be read is set aside and begun anew.
fn open(
    dir: &Path,
    max_file: u64,
    troubles: &mut Vec<String>,
) -> anyhow::Result<(Database, Image)> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(FILE);
    let place = || format!("cannot use {}", file.display());
    match guarded(|| load(&file, max_file)) {
        Ok(loaded) => Ok(loaded),
        // The file cannot be had: another agent has it, or the disk is full or read-only.
        Err(why) if is_outside(&why) => Err(why.context(place())),
        Err(why) => {
            let aside = dir.join(ASIDE);
            fs::rename(&file, &aside).with_context(place)?;
            troubles.push(format!(
                "{} cannot be read ({why:#}): it is {} now, and what it held is lost",
                file.display(),
                aside.display()
            ));
            guarded(|| load(&file, max_file)).with_context(place)
        }
    }
}

/// Whether a failure says nothing about what is in the file.
fn is_outside(why: &anyhow::Error) -> bool {
    let is_outside = |error: &io::Error| {
        !matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
        )
    };
    why.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return is_outside(error);
        }
        match cause.downcast_ref::<redb::DatabaseError>() {
            Some(redb::DatabaseError::DatabaseAlreadyOpen) => true,
            Some(redb::DatabaseError::Storage(redb::StorageError::Io(error))) => is_outside(error),
            _ => false,
        }
    })
}

fn load(file: &Path, max_file: u64) -> anyhow::Result<(Database, Image)> {
    let backend = Bounded::open(file, max_file)?;
    let mut database = Builder::new()
        .set_cache_size(CACHE)
        .create_with_backend(backend)?;
    // Also repairs what can be; the file is small.
    database.check_integrity()?;
    let image = read(&database)?;
    // After much was held, the file is mostly free pages.
    database.compact()?;
    Ok((database, image))
}

fn read(database: &Database) -> anyhow::Result<Image> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        match format {
            None => drop(meta.insert("format", FORMAT)?),
            Some(format) => ensure!(
                format == FORMAT,
                "made by another version (layout {format})"
            ),
        }
        transaction.open_table(ENTRIES)?;
        transaction.open_table(BOARD)?;
        transaction.open_table(CURSORS)?;
        transaction.open_table(STATES)?;
    }
    transaction.commit()?;
    let transaction = database.begin_read()?;
    let mut image = Image::default();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (number, body) = row?;
        image.entries.push((number.value(), body.value().into()));
    }
    for row in transaction.open_table(BOARD)?.iter()? {
        let (key, body) = row?;
        image.board.push((key.value(), body.value().into()));
    }
    for row in transaction.open_table(CURSORS)?.iter()? {
        let (name, at) = row?;
        image.cursors.push((name.value().to_owned(), at.value()));
    }
    for row in transaction.open_table(STATES)?.iter()? {
        let (key, body) = row?;
        image
            .states
            .push((key.value().to_owned(), body.value().into()));
    }
    Ok(image)
}

fn apply(database: &Database, ops: &[Op]) -> anyhow::Result<()> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        ops.iter().try_for_each(|op| tables.apply(op))?;
    }
    Ok(transaction.commit()?)
}

fn rewrite(database: &Database, image: &Image) -> anyhow::Result<()> {
    let transaction = database.begin_write()?;
    transaction.delete_table(ENTRIES)?;
    transaction.delete_table(BOARD)?;
    transaction.delete_table(CURSORS)?;
    transaction.delete_table(STATES)?;
    {
        let mut tables = Tables::open(&transaction)?;
        for (number, body) in &image.entries {
            tables.entries.insert(number, &**body)?;
        }
        for (key, body) in &image.board {
            tables.board.insert(key, &**body)?;
        }
        for (name, at) in &image.cursors {
            tables.cursors.insert(name.as_str(), at)?;
        }
        for (key, body) in &image.states {
            tables.states.insert(key.as_str(), &**body)?;
        }
    }
    Ok(transaction.commit()?)
}

struct Tables<'a> {
    entries: Table<'a, u64, &'static [u8]>,
    board: Table<'a, u64, &'static [u8]>,
    cursors: Table<'a, &'static str, u64>,
    states: Table<'a, &'static str, &'static [u8]>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> anyhow::Result<Self> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            board: transaction.open_table(BOARD)?,
            cursors: transaction.open_table(CURSORS)?,
            states: transaction.open_table(STATES)?,
        })
    }

    fn apply(&mut self, op: &Op) -> anyhow::Result<()> {
        match op {
            Op::Entry(number, Some(body)) => drop(self.entries.insert(number, &**body)?),
            Op::Entry(number, None) => drop(self.entries.remove(number)?),
            Op::Board(key, Some(body)) => drop(self.board.insert(key, &**body)?),
            Op::Board(key, None) => drop(self.board.remove(key)?),
            Op::Cursor(name, Some(at)) => drop(self.cursors.insert(name.as_str(), at)?),
            Op::Cursor(name, None) => drop(self.cursors.remove(name.as_str())?),
            Op::State(key, Some(body)) => drop(self.states.insert(key.as_str(), &**body)?),
            Op::State(key, None) => drop(self.states.remove(key.as_str())?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
