use super::*;

#[test]
fn ids_are_of_version_4() {
    assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

#[test]
fn bodies_are_split() {
    for (size, expected) in [(0, 1), (1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3)] {
        let mut out = Vec::new();
        pieces(Direction::Request, &vec![0; size].into(), true, &mut out);
        assert_eq!(out.len(), expected, "{size}");
        let ends = out
            .iter()
            .filter(|piece| matches!(piece, Outbound::Body { end: true, .. }))
            .count();
        assert_eq!(ends, 1, "{size}");
    }
}
