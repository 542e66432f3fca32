"""What an outsider needs to check the ledger: pure functions of bytes, in formats that others have fixed.

    merkle      RFC 6962 and 9162: hashes, roots, proofs
    leaf        the bytes of an event that are hashed
    tiles       C2SP tlog-tiles: hashes and entries as files of 256
    keys        keys and signatures of C2SP signed-note and tlog-cosignature
    note        C2SP signed-note: a text, and who signed it
    checkpoint  C2SP tlog-checkpoint: size and root hash, signed
    tlog_proof  C2SP tlog-proof: a file that shows that an event is in the ledger
    text        what these formats share

Nothing of these reads a file, a database or a clock. What does not hold raises EvidenceInvalid; merkle, which
imports nothing of ours, raises InvalidProof. With the ledger they are brought together by

    keyring     where the key that seals is kept
    sealing     events into tiles and a signed checkpoint, in the database
    proving     proofs from what is stored, and their verification
"""
