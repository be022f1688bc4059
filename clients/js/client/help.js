/** The page that says what to do about each error. */
export const HELP = 'https://github.com/encke/encke/blob/main/clients/js/README.md#when-it-does-not-connect';
