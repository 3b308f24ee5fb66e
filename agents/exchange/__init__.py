"""Questions to and from other programs: Anki packages, Moodle GIFT, tables, JSON lines."""
