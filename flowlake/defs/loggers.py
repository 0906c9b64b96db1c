"""A logger for people at a terminal: the time, the step, the message."""

import logging

import dagster as dg


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or ""
        message = meta.get("orig_message") or record.getMessage()
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        return f"{self.formatTime(record, '%H:%M:%S')}  {step:<22} {level}{message}"


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO")},
    description="One line a message for the command line: time, step, message.",
)
def plain_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Logs what assets say at the configured level; Dagster's own events are at DEBUG."""
    logger = logging.Logger("flowlake.run", level=context.logger_config["log_level"])
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    logger.addHandler(handler)
    return logger
