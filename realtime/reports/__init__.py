"""Pictures for reports: sheets of labelled images, charts."""
