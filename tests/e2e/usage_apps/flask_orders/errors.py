class OrderError(Exception):
    def __init__(self, order, *, status=400):
        super().__init__(order)
        self.status = status

    @property
    def text(self):
        return f"no order {self.args[0]}"

    def retry_after(self):
        return 5


def register_errors(app):

    @app.errorhandler(OrderError)
    def answer(error):
        return (error.text, error.status)

    @app.errorhandler(500)
    def broken(error):
        return ("broken", 500)
