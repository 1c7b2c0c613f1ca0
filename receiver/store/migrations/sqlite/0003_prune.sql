-- What retention looks for. None of these is written when a callback is stored.

CREATE INDEX copies_kept   ON copies (ref) WHERE file IS NOT NULL;
CREATE INDEX redriven_send ON redriven (send_id);
CREATE INDEX attention_age ON attention (at);
