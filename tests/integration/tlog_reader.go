// Reads a published log as a client of C2SP tlog-tiles, by golang.org/x/mod alone.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type reader struct{ dir string }

func (r reader) Height() int                      { return 8 }
func (r reader) SaveTiles([]tlog.Tile, [][]byte)  {}
func (r reader) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		path := strings.Replace(t.Path(), "tile/8/", "tile/", 1) // tlog-tiles leaves the height out
		d, err := os.ReadFile(filepath.Join(r.dir, path))
		if err != nil && t.W < 256 {
			full := t
			full.W = 256
			d, err = os.ReadFile(filepath.Join(r.dir, strings.Replace(full.Path(), "tile/8/", "tile/", 1)))
			d = d[:t.W*tlog.HashSize]
		}
		if err != nil {
			return nil, err
		}
		data = append(data, d)
	}
	return data, nil
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func tree(file, vkey string) tlog.Tree {
	message, err := os.ReadFile(file)
	check(err)
	verifier, err := note.NewVerifier(vkey)
	check(err)
	opened, err := note.Open(message, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	t := tlog.Tree{N: size}
	copy(t.Hash[:], root)
	return t
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	t := tree(filepath.Join(dir, "checkpoint"), vkey)
	hashes := tlog.TileHashReader(t, reader{dir})
	var index int64
	for number := int64(0); number*256 < t.N; number++ {
		bundle := tlog.Tile{H: 8, L: -1, N: number, W: 256}
		if left := t.N - number*256; left < 256 {
			bundle.W = int(left)
		}
		path := strings.Replace(bundle.Path(), "tile/8/data", "tile/entries", 1)
		data, err := os.ReadFile(filepath.Join(dir, path))
		check(err)
		for len(data) > 0 {
			n := int(binary.BigEndian.Uint16(data))
			leaf := data[2 : 2+n]
			data = data[2+n:]
			proof, err := tlog.ProveRecord(t.N, index, hashes)
			check(err)
			check(tlog.CheckRecord(proof, t.N, t.Hash, index, tlog.RecordHash(leaf)))
			index++
		}
	}
	if index != t.N {
		check(fmt.Errorf("%d entries, size %d", index, t.N))
	}
	if len(os.Args) > 3 {
		old := tree(os.Args[3], vkey)
		proof, err := tlog.ProveTree(t.N, old.N, hashes)
		check(err)
		check(tlog.CheckTree(proof, t.N, t.Hash, old.N, old.Hash))
		fmt.Printf("continues %d\n", old.N)
	}
	fmt.Printf("verified %d entries\n", index)
}
