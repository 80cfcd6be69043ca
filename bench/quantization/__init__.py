"""What do the forms of weights cost, and what do they lose? Each is measured as the service makes replies with it."""
