"""Check Merkle proofs that somebody else made. Sizes, indexes and hashes are untrusted; the root is trusted.

Raising nothing is the answer: a function here returns only when the claim holds.
"""

from collections.abc import Sequence

from outpost.core.audit.merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE, node_hash
from outpost.core.errors import StoreError

MAX_PROOF_HASHES = 63  # hashes in one proof; C2SP tlog-witness


class ProofError(StoreError):
    """A Merkle proof does not prove its claim."""

    code = "audit.proof_invalid"


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Prove that a leaf stands in a tree.

    Args:
        leaf_hash: 32 bytes, as RFC 9162 §2.1.1.
        index: zero-based, below ``size``.
        size: leaves in the tree, at least 1.
        proof: sibling hashes, 32 bytes each, leaf to root.
        expected_root: root of the tree, from a verified checkpoint.

    Raises:
        ProofError: wrong length, or another root comes out.

    Source: RFC 9162 §2.1.3.2.
    """
    _check_hashes([leaf_hash, expected_root, *proof])
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise ProofError(f"leaf {index} is not in a tree of {size}", field="index")
    node, last, result = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long", field="proof")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:  # skip the levels where this node has no sibling
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof is too short", field="proof")
    if result != expected_root:
        raise ProofError(f"leaf {index} does not stand in the tree of {size}", field="proof")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Prove that an older tree is the beginning of a newer one.

    Args:
        old_size: leaves in the older tree; may be 0.
        old_root: its root, from a verified checkpoint.
        new_size: leaves in the newer tree.
        new_root: its root, from a verified checkpoint.
        proof: hashes, 32 bytes each.

    Raises:
        ProofError: wrong length, or another root comes out.

    Source: RFC 9162 §2.1.4.2.
    """
    _check_hashes([old_root, new_root, *proof])
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE:
        raise ProofError(f"a tree of {old_size} is no beginning of a tree of {new_size}", field="old_size")
    if old_size in (0, new_size):
        _verify_trivial(old_size, old_root, new_root if old_size == new_size else EMPTY_ROOT, proof)
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise ProofError("the consistency proof is too short", field="proof")
    roots = _fold(old_size - 1, new_size - 1, path)
    if roots != (old_root, new_root):
        raise ProofError(f"the tree of {new_size} does not continue the tree of {old_size}", field="proof")


def _verify_trivial(size: int, found: bytes, expected: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise ProofError("the consistency proof must be empty here", field="proof")
    if found != expected:
        raise ProofError(f"two trees of {size} have different roots", field="root")


def _fold(node: int, last: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """Roots of the old and the new tree that a path leads to: steps 4 to 6 of RFC 9162 §2.1.4.2."""
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for value in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long", field="proof")
        if node & 1 or node == last:
            old, new = node_hash(value, old), node_hash(value, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, value)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError("the consistency proof is too short", field="proof")
    return old, new


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF_HASHES + 2:
        raise ProofError(f"the proof has more than {MAX_PROOF_HASHES} hashes", field="proof")
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError("a hash is not 32 bytes long", field="proof")
