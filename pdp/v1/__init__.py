"""Generated protobuf code. One copy, checked in, never edited: `make proto` writes it."""
