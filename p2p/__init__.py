"""How bytes travel between nodes. Knows peers, channels and limits; knows neither consensus nor ledger."""
