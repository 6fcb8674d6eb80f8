"""Classification of texts and pairs with one label or several, answer ranking, and regression."""
