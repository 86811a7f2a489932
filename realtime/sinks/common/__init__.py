"""What sinks share: files that appear only when complete, what is known of the stream, and run lengths of masks."""
