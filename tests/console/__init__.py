"""The pages, asked by a small browser of our own in process; by Chromium where a test is marked `whole`."""
