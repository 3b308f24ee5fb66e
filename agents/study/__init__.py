"""The study loop: mock exams, review cards by FSRS, and what the results say. No page here, and no model."""
