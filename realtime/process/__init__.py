"""Parts for the whole process: logging, progress, scheduling, versions, redaction of passwords."""
