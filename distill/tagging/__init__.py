"""Students of tagging."""
