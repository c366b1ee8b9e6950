// The follower reads a log by C2SP tlog-tiles with the public Go clients alone, and trusts nothing that it reads.
//
//	follower follow -url URL -vkey KEY    one look for each line of standard input
//	follower prove                        one proof in JSON for each line; "true" or "false" for each
//
// It prints a line of JSON for each look. At the first thing that is wrong it says so, and ends with exit code 1.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("follower follow | prove"))
	}
	switch os.Args[1] {
	case "follow":
		flags := flag.NewFlagSet("follow", flag.ExitOnError)
		url := flags.String("url", "", "prefix of the log, as http://127.0.0.1:8431/log/")
		vkey := flags.String("vkey", "", "verifier key of the log")
		flags.Parse(os.Args[2:])
		// A token never stands in an argument.
		follower, err := newFollower(*url, *vkey, os.Getenv("FOLLOWER_TOKEN"))
		if err != nil {
			fail(err)
		}
		each(func([]byte) (any, error) { return follower.look() })
	case "prove":
		each(func(line []byte) (any, error) { return holds(line) })
	default:
		fail(fmt.Errorf("no command %q", os.Args[1]))
	}
}

// each answers every line of standard input with a line of JSON.
func each(answer func(line []byte) (any, error)) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		found, err := answer(lines.Bytes())
		if err != nil {
			out.Flush()
			fail(err)
		}
		text, err := json.Marshal(found)
		if err != nil {
			fail(err)
		}
		out.Write(append(text, '\n'))
		if len(lines.Bytes()) == 0 { // somebody waits for the answer to this look
			out.Flush()
		}
	}
}

func fail(err error) {
	text, _ := json.Marshal(map[string]string{"error": err.Error()})
	fmt.Println(string(text))
	os.Exit(1)
}
