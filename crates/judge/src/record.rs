//! One request as it was observed from outside, and the two forms in which it is kept.
//!
//! Replicas write the binary form while they run: fixed size, so that a process killed in the
//! middle of a write loses that one record and no other. The admitted requests are published as
//! CSV, so that anybody can judge a run again with tools of their own.
//!
//! # Invariant
//!
//! A record that was read ends no earlier than it starts.

use std::io::{self, BufRead, Write};

use thiserror::Error;

/// A request, between two readings of the machine's monotonic clock.
///
/// All processes of one machine share that clock, so records of different replicas compare. The
/// decision was taken somewhere between the two readings; nobody outside can say where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The clock just before the limiter was asked.
    pub start_ns: u64,
    /// The clock just after it answered.
    pub end_ns: u64,
    /// The replica that decided.
    pub replica: u32,
    /// The key.
    pub key: u32,
    /// Tokens the request needed.
    pub cost: u32,
    /// The limiter's answer.
    pub admitted: bool,
}

impl Record {
    /// The bytes of one record, little-endian, fields in the order of the struct.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[0..8].copy_from_slice(&self.start_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.end_ns.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.replica.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.key.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.cost.to_le_bytes());
        bytes[28] = self.admitted.into();
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, Flaw> {
        let admitted = match bytes[28] {
            0 => false,
            1 => true,
            other => return Err(Flaw::Answer(other)),
        };
        Self {
            start_ns: u64::from_le_bytes(field(bytes, 0)),
            end_ns: u64::from_le_bytes(field(bytes, 8)),
            replica: u32::from_le_bytes(field(bytes, 16)),
            key: u32::from_le_bytes(field(bytes, 20)),
            cost: u32::from_le_bytes(field(bytes, 24)),
            admitted,
        }
        .in_order()
    }

    /// Reads what [`write_csv`] wrote for one admitted request.
    fn parse(line: &str) -> Result<Self, Flaw> {
        let fields: Vec<&str> = line.split(',').collect();
        let [start_ns, end_ns, replica, key, cost] = fields[..] else {
            return Err(Flaw::Fields(fields.len()));
        };
        Self {
            start_ns: number("start_ns", start_ns)?,
            end_ns: number("end_ns", end_ns)?,
            replica: number("replica", replica)?,
            key: number("key", key)?,
            cost: number("cost", cost)?,
            admitted: true,
        }
        .in_order()
    }

    fn in_order(self) -> Result<Self, Flaw> {
        if self.end_ns < self.start_ns {
            return Err(Flaw::Order(self.start_ns, self.end_ns));
        }
        Ok(self)
    }
}

/// Records read from a replica's file.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The whole records.
    pub records: Vec<Record>,
    /// Bytes of a last record that was never finished; 0 if the replica ended in peace.
    pub torn_bytes: usize,
}

/// Reads records that were written one after another with [`Record::encode`].
///
/// A truncated last record is left out and counted: its process was killed while writing it.
///
/// # Errors
///
/// [`DecodeError`] if a whole record holds what no replica writes.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let (whole, torn) = bytes.as_chunks();
    let records = whole
        .iter()
        .enumerate()
        .map(|(index, bytes)| Record::decode(bytes).map_err(|flaw| DecodeError { index, flaw }));
    Ok(Decoded {
        records: records.collect::<Result<_, _>>()?,
        torn_bytes: torn.len(),
    })
}

/// Writes the admitted requests as CSV, one a line, below a header.
///
/// Writes in small pieces: give it a buffered writer.
///
/// # Errors
///
/// Those of `to`.
pub fn write_csv(records: &[Record], mut to: impl Write) -> io::Result<()> {
    writeln!(to, "{CSV_HEADER}")?;
    for record in records.iter().filter(|record| record.admitted) {
        let Record {
            start_ns,
            end_ns,
            replica,
            key,
            cost,
            ..
        } = record;
        writeln!(to, "{start_ns},{end_ns},{replica},{key},{cost}")?;
    }
    Ok(())
}

/// Reads the admitted requests that [`write_csv`] wrote.
///
/// # Errors
///
/// [`CsvError`], which names the line, if reading fails or a line is not an admitted request.
pub fn read_csv(from: impl BufRead) -> Result<Vec<Record>, CsvError> {
    let mut lines = (1..).zip(from.lines());
    let header = lines.next().map_or(Ok(String::new()), |(line, text)| {
        text.map_err(|source| CsvError::Read { line, source })
    })?;
    if header != CSV_HEADER {
        return Err(CsvError::Header(header));
    }
    lines
        .map(|(line, text)| {
            let text = text.map_err(|source| CsvError::Read { line, source })?;
            Record::parse(&text).map_err(|flaw| CsvError::Line { line, flaw })
        })
        .collect()
}

/// A whole binary record that no replica writes: the file is not one, or is damaged.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("record {index} (at byte {}): {flaw}", index * RECORD_BYTES)]
pub struct DecodeError {
    index: usize,
    flaw: Flaw,
}

/// Why a CSV file cannot be judged.
#[derive(Debug, Error)]
pub enum CsvError {
    /// The file could not be read, or is not text.
    #[error("line {line}: {source}")]
    Read {
        /// Which line.
        line: usize,
        /// The error.
        source: io::Error,
    },
    /// The file does not say that it holds admitted requests.
    #[error("line 1: expected the header `{CSV_HEADER}`, found `{0}`")]
    Header(String),
    /// The line is not an admitted request.
    #[error("line {line}: {flaw}")]
    Line {
        /// Which line.
        line: usize,
        /// The flaw.
        flaw: Flaw,
    },
}

/// A flaw of one record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Flaw {
    /// Too few or too many fields.
    #[error("expected 5 fields, found {0}")]
    Fields(usize),
    /// A field is not a number, or is too large.
    #[error("{column} is not a number in range: `{text}`")]
    Number {
        /// Which column.
        column: &'static str,
        /// The text there.
        text: String,
    },
    /// The answer is neither yes nor no.
    #[error("expected 0 or 1 for the answer, found {0}")]
    Answer(u8),
    /// The second clock reading lies before the first.
    #[error("the request starts at {0} and ends before, at {1}")]
    Order(u64, u64),
}

fn field<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let field = bytes[at..].first_chunk();
    *field.expect("the offsets above lie within a record")
}

fn number<T: std::str::FromStr>(column: &'static str, text: &str) -> Result<T, Flaw> {
    text.parse().map_err(|_| Flaw::Number {
        column,
        text: text.to_owned(),
    })
}

/// Two clock readings, three numbers and the answer.
pub const RECORD_BYTES: usize = 8 + 8 + 4 + 4 + 4 + 1;

const CSV_HEADER: &str = "start_ns,end_ns,replica,key,cost";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADMITTED: Record = Record {
        start_ns: 5,
        end_ns: 9,
        replica: 1,
        key: 2,
        cost: 3,
        admitted: true,
    };

    fn any_record() -> impl Strategy<Value = Record> {
        let fields = any::<(u64, u64, u32, u32, u32, bool)>();
        fields.prop_map(|(one, other, replica, key, cost, admitted)| Record {
            start_ns: one.min(other),
            end_ns: one.max(other),
            replica,
            key,
            cost,
            admitted,
        })
    }

    fn encode(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(Record::encode).collect()
    }

    proptest! {
        #[test]
        fn binary_records_come_back(records in prop::collection::vec(any_record(), 0..20)) {
            let decoded = decode(&encode(&records));
            prop_assert_eq!(decoded, Ok(Decoded { records, torn_bytes: 0 }));
        }

        #[test]
        fn a_replica_killed_while_writing_loses_one_record(
            records in prop::collection::vec(any_record(), 1..20),
            torn_bytes in 1..RECORD_BYTES,
        ) {
            let (_, whole) = records.split_last().unwrap();
            let bytes = encode(&records);
            let decoded = decode(&bytes[..encode(whole).len() + torn_bytes]);
            prop_assert_eq!(decoded, Ok(Decoded { records: whole.to_vec(), torn_bytes }));
        }

        #[test]
        fn csv_gives_back_the_admitted(records in prop::collection::vec(any_record(), 0..20)) {
            let mut csv = Vec::new();
            write_csv(&records, &mut csv).unwrap();
            let admitted: Vec<_> = records.into_iter().filter(|record| record.admitted).collect();
            prop_assert_eq!(read_csv(&csv[..]).unwrap(), admitted);
        }
    }

    #[test]
    fn the_published_format_stays() {
        let denied = Record {
            admitted: false,
            ..ADMITTED
        };
        let mut csv = Vec::new();
        write_csv(&[ADMITTED, denied], &mut csv).unwrap();
        assert_eq!(csv, b"start_ns,end_ns,replica,key,cost\n5,9,1,2,3\n");
        assert_eq!(ADMITTED.encode()[..9], [5, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(
            ADMITTED.encode()[16..],
            [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1]
        );
    }

    #[test]
    fn csv_errors_name_the_line() {
        let error = |body: &str| read_csv(body.as_bytes()).unwrap_err().to_string();
        let after_header = |line: &str| error(&format!("{CSV_HEADER}\n5,9,1,2,3\n{line}\n"));

        assert!(error("").starts_with("line 1: expected the header"));
        assert!(error("5,9,1,2,3\n").starts_with("line 1: expected the header"));
        assert_eq!(
            after_header("5,9,1,2"),
            "line 3: expected 5 fields, found 4"
        );
        assert_eq!(after_header(""), "line 3: expected 5 fields, found 1");
        assert_eq!(
            after_header("5,x,1,2,3"),
            "line 3: end_ns is not a number in range: `x`"
        );
        assert_eq!(
            after_header("5,9,1,2,4294967296"),
            "line 3: cost is not a number in range: `4294967296`"
        );
        assert_eq!(
            after_header("9,5,1,2,3"),
            "line 3: the request starts at 9 and ends before, at 5"
        );
        let not_text = [CSV_HEADER.as_bytes(), b"\n\xff\n"].concat();
        assert!(
            read_csv(&not_text[..])
                .unwrap_err()
                .to_string()
                .starts_with("line 2: ")
        );
    }

    #[test]
    fn a_decision_may_take_less_than_a_tick() {
        let prompt = Record {
            end_ns: 5,
            ..ADMITTED
        };
        assert_eq!(decode(&prompt.encode()).unwrap().records, [prompt]);
    }

    #[test]
    fn a_damaged_record_is_named() {
        let mut bytes = encode(&[ADMITTED, ADMITTED]);
        bytes[2 * RECORD_BYTES - 1] = 7;
        let error = decode(&bytes).unwrap_err().to_string();
        assert_eq!(
            error,
            "record 1 (at byte 29): expected 0 or 1 for the answer, found 7"
        );

        let backwards = Record {
            end_ns: 4,
            ..ADMITTED
        };
        let error = decode(&backwards.encode()).unwrap_err();
        assert_eq!(error.flaw, Flaw::Order(5, 4));
    }
}
