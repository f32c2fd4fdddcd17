import parquet from 'parquetjs-lite';
const dir = process.argv[2] + '/';
const rows=Array.from({length:24},(_,i)=>({id:100+i,word:`word ${i}`,v:Array.from({length:8},(_,j)=>(i*8+j-50)/8)}));
{
const schema=new parquet.ParquetSchema({id:{type:'INT64'},word:{type:'UTF8'},embedding:{type:'FLOAT',repeated:true}});
const w=await parquet.ParquetWriter.openFile(schema,dir+'parquetjs-repeated.parquet');
for(const r of rows) await w.appendRow({id:r.id,word:r.word,embedding:r.v}); await w.close();}
{
const schema=new parquet.ParquetSchema({id:{type:'INT64'},word:{type:'UTF8',compression:'GZIP'},embedding:{fields:{list:{repeated:true,fields:{element:{type:'FLOAT'}}}}}});
const w=await parquet.ParquetWriter.openFile(schema,dir+'parquetjs-nested.parquet');
for(const r of rows) await w.appendRow({id:r.id,word:r.word,embedding:{list:r.v.map(element=>({element}))}}); await w.close();}
