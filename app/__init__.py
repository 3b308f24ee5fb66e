"""The page: a Gradio chat whose citations open the passage they quote."""
