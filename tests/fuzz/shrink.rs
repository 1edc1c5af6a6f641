//! Shrinking a frame that fails.

/// Cuts pieces out, then blanks bytes, as long as it still `fails`.
pub(crate) fn shrink(frame: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = frame.to_vec();
    let mut piece = smallest.len().next_power_of_two();
    while piece > 0 {
        let mut at = smallest.len().saturating_sub(piece);
        loop {
            let mut shorter = smallest.clone();
            shorter.drain(at..(at + piece).min(smallest.len()));
            if shorter.len() < smallest.len() && fails(&shorter) {
                smallest = shorter;
            }
            if at == 0 {
                break;
            }
            at = at.saturating_sub(piece).min(smallest.len());
        }
        piece /= 2;
    }
    for at in 0..smallest.len() {
        let mut blanked = smallest.clone();
        blanked[at] = 0;
        if fails(&blanked) {
            smallest = blanked;
        }
    }
    smallest
}

#[test]
fn irrelevant_bytes_are_removed() {
    let frame: Vec<u8> = (1..=100).collect();
    let fails = |it: &[u8]| it.contains(&40) && it.contains(&77) && it.len() > 2;
    assert_eq!(shrink(&frame, fails), [0, 40, 77]);
}
