package main

import (
	"encoding/json"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// Claim is an inclusion proof (`leaf` at index `old`) or a consistency proof (from `old_root` of size `old`).
type Claim struct {
	Old     int64    `json:"old"`
	Size    int64    `json:"size"`
	Leaf    []byte   `json:"leaf"`
	OldRoot []byte   `json:"old_root"`
	Root    []byte   `json:"root"`
	Proof   [][]byte `json:"proof"`
}

// holds says what sumdb's and transparency-dev's verifiers say of a claim: two answers, in this order.
func holds(line []byte) ([2]bool, error) {
	var claim Claim
	if err := json.Unmarshal(line, &claim); err != nil {
		return [2]bool{}, err
	}
	var hashes []tlog.Hash
	for _, one := range claim.Proof {
		hashes = append(hashes, tlog.Hash(one))
	}
	hasher, old, size := rfc6962.DefaultHasher, uint64(claim.Old), uint64(claim.Size)
	if claim.Leaf != nil {
		first := tlog.CheckRecord(hashes, claim.Size, tlog.Hash(claim.Root), claim.Old, tlog.Hash(claim.Leaf))
		second := proof.VerifyInclusion(hasher, old, size, claim.Leaf, claim.Proof, claim.Root)
		return [2]bool{first == nil, second == nil}, nil
	}
	first := tlog.CheckTree(hashes, claim.Size, tlog.Hash(claim.Root), claim.Old, tlog.Hash(claim.OldRoot))
	second := proof.VerifyConsistency(hasher, old, size, claim.Proof, claim.OldRoot, claim.Root)
	return [2]bool{first == nil, second == nil}, nil
}
