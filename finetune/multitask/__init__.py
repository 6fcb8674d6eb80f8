"""Several tasks learnt together, over one encoder."""
