"""Files of rows, whatever their form: TSV, CSV, JSON lines, a JSON array, Parquet."""
