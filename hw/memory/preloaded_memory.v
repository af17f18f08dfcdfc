// Large external memory, for simulation only: with +preload it starts with the words of the file
// external.hex in the folder of the run, otherwise with zeros.
module preloaded_memory #(parameter WORDS = 1) (
    input clk,
    input [23:0] read_address,
    input read_enable,
    output reg [31:0] read_data,
    input [23:0] write_address,
    input write_enable,
    input [31:0] write_data
);
    reg [31:0] memory [0:WORDS-1];
    integer i;
    initial begin
        read_data = 0;
        for (i = 0; i < WORDS; i = i + 1) memory[i] = 0;
        if ($test$plusargs("preload")) $readmemh("external.hex", memory);
    end
    always @(posedge clk) begin
        if (write_enable) memory[write_address] <= write_data;
        if (read_enable) read_data <= memory[read_address];
    end
endmodule
