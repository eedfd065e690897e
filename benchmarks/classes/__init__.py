"""How well photos are told from floor plans, maps, logos and blanks, and what that costs."""
