"""How people ask: questions to the read models, and what the answers are made of."""
