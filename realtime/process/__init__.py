"""What belongs to the whole process: scheduler settings, versions, redaction of passwords."""
