"""Parts for the whole process: what board it runs on, logging, progress, scheduling, versions, redaction of passwords."""
