-- What a signer signed, so that it can be looked at again where its key may count no longer.
ALTER TABLE revision ADD COLUMN signature BLOB;
