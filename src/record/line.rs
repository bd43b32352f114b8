use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A line as it stands in the file: the record's JSON, and the CRC-32 of exactly that text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    crc32: &'a str,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// A record as a line, its newline included.
pub(crate) fn encode(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::to_string(record)?;
    let crc32 = crc32fast::hash(record.as_bytes());
    Ok(format!("{{\"crc32\":\"{crc32:08x}\",\"record\":{record}}}\n").into_bytes())
}

/// The record of a line without its newline, or what is wrong with it.
pub(super) fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, &'static str> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "it is no whole line")?;
    let record = line.record.get();
    if format!("{:08x}", crc32fast::hash(record.as_bytes())) != line.crc32 {
        return Err("its checksum does not fit");
    }
    serde_json::from_str(record).map_err(|_| "it is whole, but no such record")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_no_changed_byte_passes() {
        let record = json!({"a": [1, "two\n", null], "b": 0.5});
        let line = encode(&record).unwrap();
        let (newline, line) = line.split_last().unwrap();
        assert_eq!(*newline, b'\n');
        assert!(!line.contains(&b'\n'));
        assert_eq!(decode::<Value>(line), Ok(record.clone()));
        for at in 0..line.len() {
            for byte in [0, b' ', b'0', b'"', 0xff] {
                let mut changed = line.to_vec();
                changed[at] = byte;
                // White space outside of the record changes nothing.
                assert!(
                    decode::<Value>(&changed).is_ok_and(|read| read == record) == (changed == line)
                );
            }
            assert!(decode::<Value>(&line[..at]).is_err());
        }
    }
}
