"""What every room shares: value types, settings, errors, exam facts. Imports nothing of ours."""
