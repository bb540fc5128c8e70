//! Drops fields with duplicate names. The check costs a few bits per field, because almost no row has duplicates.

use super::Field;

/// Max fields of a row that is checked with a bit set and linear scans; larger rows are sorted.
const MAX_BITSET_FIELDS: usize = 256;

/// Drops each field that is followed by another of the same name.
pub(super) fn drop_duplicates(fields: &mut Vec<Field<'_>>) {
    let repeated =
        if fields.len() <= MAX_BITSET_FIELDS { has_duplicates_small(fields) } else { has_duplicates_large(fields) };
    if !repeated {
        return;
    }
    let mut counts = vec![true; fields.len()];
    let by_name = indexes_by_name(fields);
    for pair in by_name.windows(2) {
        let [one, next] = [pair[0] as usize, pair[1] as usize];
        counts[one] = fields[one].name != fields[next].name;
    }
    let mut counts = counts.into_iter();
    fields.retain(|_| counts.next().unwrap_or(true));
}

/// Indexes of the fields, sorted by name. Fields of the same name keep the row's order.
pub(super) fn indexes_by_name(fields: &[Field<'_>]) -> Box<[u32]> {
    let indexes = 0..u32::try_from(fields.len()).expect("a record has fewer than 2^32 fields");
    let mut by_name: Box<[u32]> = indexes.collect();
    by_name.sort_by(|one, other| fields[*one as usize].name.cmp(&fields[*other as usize].name));
    by_name
}

/// Compares names only if they share a bit.
fn has_duplicates_small(fields: &[Field<'_>]) -> bool {
    let mut seen = [0_u64; 16];
    for (index, field) in fields.iter().enumerate() {
        let bit = name_bit(&field.name);
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        if seen[word] & mask != 0 && fields[..index].iter().any(|other| other.name == field.name) {
            return true;
        }
        seen[word] |= mask;
    }
    false
}

/// One of 1024 bits, from four bytes of the name's length and characters, so that a long name costs no more.
fn name_bit(name: &str) -> usize {
    let byte = |at: usize| u32::from(name.as_bytes().get(at).copied().unwrap_or_default());
    let (length, last) = (name.len(), name.len().saturating_sub(1));
    let mixed = (length as u32) << 24 ^ byte(0) << 16 ^ byte(length / 2) << 8 ^ byte(last);
    (mixed.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

fn has_duplicates_large(fields: &[Field<'_>]) -> bool {
    indexes_by_name(fields).windows(2).any(|pair| fields[pair[0] as usize].name == fields[pair[1] as usize].name)
}
