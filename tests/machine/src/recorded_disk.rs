//! A disk of which every write and every flush is recorded, in their order, and what a power cut would have left of it.
//!
//! ```text
//!   guest ──▶ virtio disk ──▶ blklogwrites ──▶ image
//!                                  └─────────▶ log: write, write, flush, write, …   (the format of dm-log-writes)
//!
//!   left(cut) = image as it was + all before the last flush before the cut
//!                               + of what came after it, each write whole, a part of its sectors, or not at all
//! ```
//!
//! The disk says that it has a cache that loses its content, so the guest's kernel flushes it where data must stay, as with a
//! disk of a real machine. Killing the emulator would lose nothing of what the guest has written: the host has it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a sector of the log.
const SECTOR: u64 = 512;
/// `WRITE_LOG_MAGIC` of the kernel's `drivers/md/dm-log-writes.c`.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// The image as it was before anything was recorded, and the record.
#[derive(Debug, Clone)]
pub struct RecordedDisk {
    pub(crate) image: PathBuf,
    pub(crate) original: PathBuf,
    pub(crate) log: PathBuf,
}

/// One write or flush.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where it begins on the disk, in bytes.
    target: u64,
    /// How many bytes it writes.
    length: u64,
    flags: u64,
    /// Where its bytes are in the log.
    data: u64,
}

impl Entry {
    const fn end(&self) -> u64 {
        self.data + self.length
    }
}

/// What was recorded.
#[derive(Debug)]
pub struct Record {
    disk: RecordedDisk,
    entries: Vec<Entry>,
}

impl RecordedDisk {
    /// How much is recorded by now, in bytes: a place in the record.
    ///
    /// # Errors
    /// Where the log cannot be looked at.
    pub fn position(&self) -> io::Result<u64> {
        fs::metadata(&self.log).map(|file| file.len())
    }

    /// What is recorded by now. What the disk is just about is left out.
    ///
    /// # Errors
    /// Where the log cannot be read or is none.
    pub fn record(&self) -> io::Result<Record> {
        let mut log = File::open(&self.log)?;
        let length = log.metadata()?.len();
        let mut word = [0; 8];
        let mut number = |log: &mut File| log.read_exact(&mut word).map(|()| u64::from_le_bytes(word));
        if number(&mut log)? != MAGIC {
            return Err(io::Error::other("the log of writes does not begin as one"));
        }
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        while at + SECTOR <= length {
            log.seek(SeekFrom::Start(at))?;
            let (sector, sectors, flags) = (number(&mut log)?, number(&mut log)?, number(&mut log)?);
            if sectors == 0 && flags == 0 {
                break;
            }
            let written = if flags & DISCARD == 0 { sectors * SECTOR } else { 0 };
            let entry = Entry { target: sector * SECTOR, length: written, flags, data: at + SECTOR };
            if entry.end() > length {
                break;
            }
            at = entry.end();
            entries.push(entry);
        }
        Ok(Record { disk: self.clone(), entries })
    }
}

impl Record {
    /// How many writes and flushes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many flushes there are.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count()
    }

    /// How many entries were wholly recorded at a [position](RecordedDisk::position).
    #[must_use]
    pub fn entries_at(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.end() <= position)
    }

    /// Writes to `image` what is left where the power goes after so many entries; `chance` gives numbers below a bound.
    ///
    /// # Errors
    /// Where the image cannot be written.
    pub fn leave(&self, entries: usize, image: &Path, chance: &mut dyn FnMut(u64) -> u64) -> io::Result<()> {
        fs::copy(&self.disk.original, image)?;
        let (image, log) = (File::options().write(true).open(image)?, File::open(&self.disk.log)?);
        let before = &self.entries[..entries];
        let durable = before.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |last| last + 1);
        let mut data = Vec::new();
        for (at, entry) in before.iter().enumerate() {
            let sectors = entry.length / SECTOR;
            let kept = if at < durable || entry.flags & FUA != 0 {
                sectors
            } else {
                match chance(4) {
                    0 => 0,
                    1 => chance(sectors + 1),
                    _ => sectors,
                }
            };
            data.resize(usize::try_from(kept * SECTOR).map_err(io::Error::other)?, 0);
            log.read_exact_at(&mut data, entry.data)?;
            image.write_all_at(&data, entry.target)?;
        }
        Ok(())
    }
}
