"""Where Hermes runs: sandboxes, toolchains, embedded servers, blobs."""
