"""Roots, proofs and tile names against the published vectors."""

import pytest

from outpost.core.audit import merkle, proof
from outpost.core.audit.merkle import CompactRange, TreeError
from outpost.core.audit.proof import ProofError

# The eight leaves and roots that Certificate Transparency implementations share (RFC 6962 reference tests).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


@pytest.mark.parametrize("size", range(9))
def test_the_root_of_the_published_leaves(size: int) -> None:
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size]
    assert CompactRange().extend(HASHES[:size]).size == size


INCLUSION = {
    "first of one": (0, 1, []),
    "first of eight": (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    "sixth of eight": (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    "third of three": (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
}


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSION.values(), ids=INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, expected: list[str]) -> None:
    made = merkle.inclusion_proof(HASHES, index, size)
    assert [value.hex() for value in made] == expected
    proof.verify_inclusion(HASHES[index], index, size, made, bytes.fromhex(ROOTS[size]))


CONSISTENCY = {
    "one to one": (1, 1, []),
    "one to eight": (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    "six to eight": (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    "two to five": (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CONSISTENCY.values(), ids=CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int, expected: list[str]) -> None:
    made = merkle.consistency_proof(HASHES, old, new)
    assert [value.hex() for value in made] == expected
    proof.verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), made)


def root_of(size: int) -> bytes:
    return bytes.fromhex(ROOTS[size])


GOOD = merkle.inclusion_proof(HASHES, 5, 8)
BAD_INCLUSION = {
    "another leaf": (HASHES[4], 5, 8, GOOD, root_of(8)),
    "another index": (HASHES[5], 4, 8, GOOD, root_of(8)),
    "an index behind the end": (HASHES[5], 8, 8, GOOD, root_of(8)),
    "a negative index": (HASHES[5], -1, 8, GOOD, root_of(8)),
    "another size": (HASHES[5], 5, 6, GOOD, root_of(8)),
    "another root": (HASHES[5], 5, 8, GOOD, root_of(7)),
    "one hash too few": (HASHES[5], 5, 8, GOOD[:-1], root_of(8)),
    "one hash too many": (HASHES[5], 5, 8, (*GOOD, GOOD[0]), root_of(8)),
    "a short hash": (HASHES[5], 5, 8, (*GOOD[:-1], GOOD[-1][:31]), root_of(8)),
    "a flood of hashes": (HASHES[5], 5, 8, GOOD * 100, root_of(8)),
    "an empty tree": (HASHES[5], 0, 0, (), root_of(0)),
}


@pytest.mark.parametrize("case", BAD_INCLUSION.values(), ids=BAD_INCLUSION)
def test_an_inclusion_proof_of_something_else_is_refused(
    case: tuple[bytes, int, int, tuple[bytes, ...], bytes],
) -> None:
    with pytest.raises(ProofError):
        proof.verify_inclusion(*case)


PATH = merkle.consistency_proof(HASHES, 3, 7)
BAD_CONSISTENCY = {
    "another old root": (3, root_of(2), 7, root_of(7), PATH),
    "another new root": (3, root_of(3), 7, root_of(8), PATH),
    "old larger than new": (7, root_of(7), 3, root_of(3), PATH),
    "one hash too few": (3, root_of(3), 7, root_of(7), PATH[:-1]),
    "one hash too many": (3, root_of(3), 7, root_of(7), (*PATH, PATH[0])),
    "no hashes": (3, root_of(3), 7, root_of(7), ()),
    "no hashes from a power of two": (4, root_of(4), 7, root_of(7), ()),
    "equal sizes, two roots": (3, root_of(3), 3, root_of(4), ()),
    "equal sizes with a proof": (3, root_of(3), 3, root_of(3), PATH),
    "an empty tree with a root": (0, root_of(1), 3, root_of(3), ()),
    "an empty tree with a proof": (0, root_of(0), 3, root_of(3), PATH),
}


@pytest.mark.parametrize("case", BAD_CONSISTENCY.values(), ids=BAD_CONSISTENCY)
def test_a_consistency_proof_of_something_else_is_refused(
    case: tuple[int, bytes, int, bytes, tuple[bytes, ...]],
) -> None:
    with pytest.raises(ProofError):
        proof.verify_consistency(*case)


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    proof.verify_consistency(0, root_of(0), 5, root_of(5), merkle.consistency_proof(HASHES, 0, 5))


OUT_OF_RANGE = {
    "a leaf behind the end": lambda: merkle.inclusion_proof(HASHES, 8, 8),
    "more leaves than there are": lambda: merkle.inclusion_proof(HASHES, 0, 9),
    "a tree that shrinks": lambda: merkle.consistency_proof(HASHES, 5, 4),
    "a range with too few hashes": lambda: CompactRange(3, (HASHES[0],)),
    "a range with a short hash": lambda: CompactRange(1, (HASHES[0][:31],)),
    "a tile below zero": lambda: merkle.tile_path(0, -1),
    "a level above 63": lambda: merkle.tile_path(64, 0),
}


@pytest.mark.parametrize("call", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_what_is_out_of_range_is_refused(call: object) -> None:
    with pytest.raises(TreeError):
        call()  # type: ignore[operator]


def test_tiles_have_the_names_of_the_specification() -> None:
    assert merkle.tile_path(0, 1_234_067) == "0/x001/x234/067"
    assert merkle.tile_path(0, 0) == "0/000"
    assert merkle.tile_path(2, 1000) == "2/x001/000"
