"""The only room that knows which database holds the facts. It knows nothing of what they mean."""
