package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Patience with one look: a client that retries (torchwood) must not hold up whoever waits for the answer.
const patience = 60 * time.Second

// Proven is how many new entries get an inclusion proof in one look, more or less.
const proven = 2000

// Look is what a look at the log found to hold.
type Look struct {
	Old       uint64 `json:"old"`       // size at the look before
	Size      uint64 `json:"size"`      // size under the checkpoint
	Root      string `json:"root"`      // its root, base64
	Tiles     int    `json:"tiles"`     // tiles of hashes authenticated
	Entries   int64  `json:"entries"`   // entries hashed and found in the tree
	Included  int    `json:"included"`  // inclusion proofs of the entries that are new
	Proof     int    `json:"proof"`     // hashes in the consistency proof
	Signature string `json:"signature"` // name of the key that signed
}

type follower struct {
	fetcher  *client.HTTPFetcher
	reader   *torchwood.TileFetcher
	tracker  *client.LogStateTracker
	verifier note.Verifier
	seen     *log.Checkpoint // the checkpoint that the tracker was shown last, whether it took it or not
	signer   string
}

func newFollower(prefix, vkey, token string) (*follower, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	root, err := url.Parse(prefix)
	if err != nil {
		return nil, err
	}
	signed := &http.Client{Transport: bearer{token}}
	fetcher, err := client.NewHTTPFetcher(root, &http.Client{})
	if err != nil {
		return nil, err
	}
	if token != "" {
		fetcher.SetAuthorizationHeader("Bearer " + token)
	}
	reader, err := torchwood.NewTileFetcher(prefix, torchwood.WithHTTPClient(signed), torchwood.WithConcurrencyLimit(8))
	if err != nil {
		return nil, err
	}
	return &follower{fetcher: fetcher, reader: reader, verifier: verifier}, nil
}

// bearer puts the token onto every request.
type bearer struct{ token string }

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	if b.token != "" {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+b.token)
	}
	return http.DefaultTransport.RoundTrip(request)
}

// look verifies all there is under the log's checkpoint, and that it extends what was there at the last look.
func (f *follower) look() (*Look, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// 1. The checkpoint: its signature, and that it is consistent with the one before.
	old, hashes, err := f.update(ctx)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	tree := tlog.Tree{N: int64(f.seen.Size), Hash: tlog.Hash(f.seen.Hash)}
	found := &Look{Old: old, Size: f.seen.Size, Root: tree.Hash.String(), Proof: hashes, Signature: f.signer}
	// 2. Every tile, authenticated from the root down.
	if found.Tiles, err = f.tiles(ctx, tree); err != nil {
		return nil, fmt.Errorf("tiles: %w", err)
	}
	// 3. Every entry, hashed and looked for in the tree; of the new ones an inclusion proof, too.
	if err = f.entries(ctx, tree, old, found); err != nil {
		return nil, fmt.Errorf("entries: %w", err)
	}
	return found, nil
}

// update returns the size before and the length of the consistency proof.
func (f *follower) update(ctx context.Context) (uint64, int, error) {
	if f.tracker == nil {
		tracker, err := client.NewLogStateTracker(
			ctx, f.fetcher.ReadTile, nil, f.verifier, f.verifier.Name(), f.noting)
		if err != nil {
			return 0, 0, err
		}
		f.tracker = tracker
		return 0, 0, nil
	}
	old := f.tracker.Latest()
	_, hashes, _, err := f.tracker.Update(ctx)
	if err != nil {
		return 0, 0, err
	}
	// The tracker passes over a checkpoint that is not larger, as a cache's might be: this log has no excuse.
	if f.seen.Size < old.Size {
		return 0, 0, fmt.Errorf("the log went back from %d to %d entries", old.Size, f.seen.Size)
	}
	if f.seen.Size == old.Size && !bytes.Equal(f.seen.Hash, old.Hash) {
		return 0, 0, fmt.Errorf("two roots for %d entries", old.Size)
	}
	return old.Size, len(hashes), nil
}

// noting fetches and verifies the checkpoint for the tracker, and notes which it was.
func (f *follower) noting(
	ctx context.Context, verifier note.Verifier, origin string,
) (*log.Checkpoint, []byte, *note.Note, error) {
	found, raw, opened, err := client.FetchCheckpoint(ctx, f.fetcher.ReadCheckpoint, verifier, origin)
	if err == nil {
		f.seen, f.signer = found, opened.Sigs[0].Name
	}
	return found, raw, opened, err
}

// tiles authenticates every tile twice: by Tessera's client to the root, and by sumdb's from the root to each leaf.
func (f *follower) tiles(ctx context.Context, tree tlog.Tree) (int, error) {
	size := uint64(tree.N)
	peaks, err := client.FetchRangeNodes(ctx, size, f.fetcher.ReadTile)
	if err != nil {
		return 0, err
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	whole, err := factory.NewRange(0, size, peaks)
	if err != nil {
		return 0, err
	}
	root := rfc6962.DefaultHasher.EmptyRoot()
	if size > 0 {
		if root, err = whole.GetRootHash(nil); err != nil {
			return 0, err
		}
	}
	if !bytes.Equal(root, tree.Hash[:]) {
		return 0, fmt.Errorf("the tiles have another root than the checkpoint")
	}
	counting := &counter{TileReader: f.reader, seen: map[string]bool{}}
	hashes := torchwood.TileHashReaderWithContext(ctx, tree, counting)
	for first := int64(0); first < tree.N; first += torchwood.TileWidth {
		var leaves []int64
		for index := first; index < min(first+torchwood.TileWidth, tree.N); index++ {
			leaves = append(leaves, tlog.StoredHashIndex(0, index))
		}
		if _, err := hashes.ReadHashes(leaves); err != nil {
			return 0, err
		}
	}
	return len(counting.seen), nil
}

// counter counts the tiles that were authenticated.
type counter struct {
	torchwood.TileReader
	seen map[string]bool
}

func (c *counter) SaveTiles(tiles []tlog.Tile, _ [][]byte) {
	for _, tile := range tiles {
		c.seen[tile.Path()] = true
	}
}

func (f *follower) entries(ctx context.Context, tree tlog.Tree, old uint64, found *Look) error {
	reader, err := torchwood.NewClient(f.reader, torchwood.WithTimeout(patience))
	if err != nil {
		return err
	}
	proofs, err := client.NewProofBuilder(ctx, uint64(tree.N), f.fetcher.ReadTile)
	if err != nil {
		return err
	}
	// Of a great many new entries some get an inclusion proof of their own; all are authenticated by their tiles.
	stride := max(1, (uint64(tree.N)-old)/proven)
	for found.Entries < tree.N {
		before := found.Entries
		for index, entry := range reader.Entries(ctx, tree, found.Entries) {
			if index != found.Entries {
				return fmt.Errorf("entry %d in the place of %d", index, found.Entries)
			}
			found.Entries++
			if uint64(index) < old || (uint64(index)-old)%stride != 0 {
				continue
			}
			path, err := proofs.InclusionProof(ctx, uint64(index))
			if err != nil {
				return err
			}
			leaf := rfc6962.DefaultHasher.HashLeaf(entry)
			err = proof.VerifyInclusion(
				rfc6962.DefaultHasher, uint64(index), uint64(tree.N), leaf, path, tree.Hash[:])
			if err != nil {
				return fmt.Errorf("inclusion of %d: %w", index, err)
			}
			found.Included++
		}
		if err := reader.Err(); err != nil {
			return err
		}
		if found.Entries == before {
			return fmt.Errorf("no entry after %d", before)
		}
	}
	return nil
}
