"""Memory: a chat whose every turn is a fact, and views of those facts that the next turn sees."""
