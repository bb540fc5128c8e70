//! Fields with one name: found at the cost of a few bits a field, for nearly no row has any.

use super::Field;

/// Among no more fields than this one is looked for from the first on.
const FEW: usize = 256;

/// Drops each field that another of its name follows.
pub(super) fn drop_all_but_the_last(fields: &mut Vec<Field<'_>>) {
    let repeated = if fields.len() <= FEW { any_among_few(fields) } else { any_among_many(fields) };
    if !repeated {
        return;
    }
    let mut counts = vec![true; fields.len()];
    let by_name = sorted_by_name(fields);
    for pair in by_name.windows(2) {
        let [one, next] = [pair[0] as usize, pair[1] as usize];
        counts[one] = fields[one].name != fields[next].name;
    }
    let mut counts = counts.into_iter();
    fields.retain(|_| counts.next().unwrap_or(true));
}

/// The fields' places in the order of their names; those of one name in the row's order.
pub(super) fn sorted_by_name(fields: &[Field<'_>]) -> Box<[u32]> {
    let places = 0..u32::try_from(fields.len()).expect("a record has fewer bytes than that");
    let mut by_name: Box<[u32]> = places.collect();
    by_name.sort_by(|one, other| fields[*one as usize].name.cmp(&fields[*other as usize].name));
    by_name
}

/// Names are compared only where the same bit stands for both.
fn any_among_few(fields: &[Field<'_>]) -> bool {
    let mut seen = [0_u64; 16];
    for (place, field) in fields.iter().enumerate() {
        let bit = bit_of(&field.name);
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        if seen[word] & mask != 0 && fields[..place].iter().any(|other| other.name == field.name) {
            return true;
        }
        seen[word] |= mask;
    }
    false
}

/// From four bytes of a name, so that a long one costs no more: one of 1024 bits.
fn bit_of(name: &str) -> usize {
    let byte = |at: usize| u32::from(name.as_bytes().get(at).copied().unwrap_or_default());
    let (length, last) = (name.len(), name.len().saturating_sub(1));
    let mixed = (length as u32) << 24 ^ byte(0) << 16 ^ byte(length / 2) << 8 ^ byte(last);
    (mixed.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

fn any_among_many(fields: &[Field<'_>]) -> bool {
    sorted_by_name(fields).windows(2).any(|pair| fields[pair[0] as usize].name == fields[pair[1] as usize].name)
}
