"""The published `dexie-cloud` command of npm, pinned by the files here, and what runs it in a test."""
