"""Picture files, read by everybody through one door: the size is known and limited before anything is decoded."""
