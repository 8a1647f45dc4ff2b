"""What a run leaves on disk: step folders, manifests written last, lineage."""
