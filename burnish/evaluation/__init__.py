"""Is the tuned model better than the strongest arm that needs no fine-tuning, by how much, and how sure?"""
